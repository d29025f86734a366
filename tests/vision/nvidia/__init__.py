"""NVIDIA's library as tests see it: `tensorrt.py` here is found when this folder is on `PYTHONPATH`."""
