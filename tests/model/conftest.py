import torch

torch.set_num_threads(1)  # tiny models lose by more
