"""An endless series of made-up structures, and of scenes of them through random microscopes, each by its index."""
