"""What people see of a run: the model of a view, pictures, text, pages without a kernel, and live widgets.

Only `widgets` needs something that is not installed with the library: the extra ``notebook``.
"""
