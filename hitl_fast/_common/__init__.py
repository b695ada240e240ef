"""What every package may import: whole-file writes, bootstrap intervals, and the errors that a user can cause.

Only the standard library is imported until an array is needed; torch never is.
"""
