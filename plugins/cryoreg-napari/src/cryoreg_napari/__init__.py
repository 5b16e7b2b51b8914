"""napari for `cryoreg open`. Installing this package beside napari is all that is needed."""
