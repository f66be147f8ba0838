"""The one door to AnnData, MuData and dask: cells and columns are read and results are written here."""
