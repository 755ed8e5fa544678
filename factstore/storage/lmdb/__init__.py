"""Storage in one LMDB file, shared by all processes of a machine."""
