"""The compiled core: one folder an operation, each a definition in NumPy, one in Numba, one in Triton.

Nothing here knows of models, loaders or files. Import the operation that you want, for example
``from hitl_kernels.rand_index import rand_index``; nothing is imported before.
"""
