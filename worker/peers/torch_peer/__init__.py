"""What torch_worker.py is made of."""
