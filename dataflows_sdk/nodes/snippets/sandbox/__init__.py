"""What runs inside the processes for snippets: no package of the library may be imported here.

The process is started as ``python -I`` (with ``-S`` where no installed package is wanted), finds this folder on its
path and nothing else of the library, and takes it from the path again before it reads its first request.
"""
