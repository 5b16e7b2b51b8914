"""From any data set to a store or to folders of files."""
