"""A tour of the library on real data that comes with the install, one module per demo step."""
