"""The whole story on real data that comes with the install, a chapter a room."""
