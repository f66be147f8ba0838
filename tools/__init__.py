"""What maintainers run: ``python -m tools.NAME``, in the root of the repository."""
