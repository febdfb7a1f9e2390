"""Muon: momentum, orthogonalised by a Newton-Schulz iteration, for the matrices of a network."""

import torch
import torch.distributed as dist


class Muon(torch.optim.Optimizer):
    """Parameters of equal shape are orthogonalised together, each worker its share of them."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        by_shape = {}
        for p in params:
            by_shape.setdefault(p.shape, []).append(p)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([{"params": same} for same in by_shape.values()], defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            decay = 1 - group["lr"] * group["weight_decay"]
            for p, update in zip(group["params"], self.updates(group), strict=True):
                p.mul_(decay).sub_(update, alpha=group["lr"])

    def updates(self, group):
        """The orthogonal factor of each momentum, to scale: [parameters, rows, columns]."""
        params, beta = group["params"], group["momentum"]
        rows, columns = params[0].shape
        for p in params:
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - beta)
        # Nesterov's momentum
        x = torch.stack([p.grad.lerp(self.state[p]["momentum"], beta) for p in params])
        tall = rows > columns
        x = x.mT if tall else x  # the smaller Gram matrix
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        shared = torch.zeros_like(x)
        mine = slice(dist.get_rank(), None, dist.get_world_size())
        shared[mine] = newton_schulz(x[mine])
        dist.all_reduce(shared)
        return (shared.mT if tall else shared) * max(1, rows / columns) ** 0.5


def newton_schulz(x, steps=5):
    """Moves the singular values of each matrix of x, at most 1, to about 1, by a quintic that is
    steep at 0."""
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x
