"""A trained reward model as a folder that others load without this project: see :mod:`sweeps.export.folder`."""
