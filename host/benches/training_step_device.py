#!/usr/bin/env python3
"""Time of a training iteration of AdaDFQ in PyTorch, beside the bench `training_step_device`.

    python3 host/benches/training_step_device.py --device cuda:0 [--tf32] [--bf16]
                                                 [--batch N] [--iterations N]

The same sizes as the bench: ResNet-20 at CIFAR size as float teacher and as w4a4 student with
frozen ranges, the CIFAR generator, batch 16, all losses of the method, Adam and Nesterov SGD. As
in the method's published code the student runs twice per iteration, once for the generator's loss
and once for its own. Parameters are random: they do not change the time. Needs torch, nothing else.
"""

import argparse
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

BITS = 4
CLASSES = 10
LATENT = 100


class FakeQuantize(torch.autograd.Function):
    """Values of codes between minimum and maximum; gradients pass unchanged."""

    @staticmethod
    def forward(ctx, values, minimum, maximum):
        half = 2 ** (BITS - 1)
        scale = (2**BITS - 1) / torch.clamp(maximum - minimum, min=1e-8)
        zero_point = torch.round(scale * minimum) + half
        codes = torch.clamp(torch.round(scale * values - zero_point), -half, half - 1)
        return (codes + zero_point) / scale

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None, None


def quantized_weight(weight):
    rows = weight.detach().flatten(1)
    shape = [-1] + [1] * (weight.dim() - 1)
    return FakeQuantize.apply(weight, rows.amin(1).view(shape), rows.amax(1).view(shape))


class Conv(nn.Conv2d):
    quantized = False

    def forward(self, x):
        weight = quantized_weight(self.weight) if self.quantized else self.weight
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Linear(nn.Linear):
    quantized = False

    def forward(self, x):
        weight = quantized_weight(self.weight) if self.quantized else self.weight
        return F.linear(x, weight, self.bias)


class Activation(nn.Module):
    """ReLU, with a quantizer of a frozen range behind it in the student."""

    quantized = False

    def __init__(self):
        super().__init__()
        self.register_buffer("minimum", torch.zeros(1))
        self.register_buffer("maximum", torch.ones(1))

    def forward(self, x):
        x = F.relu(x)
        return FakeQuantize.apply(x, self.minimum, self.maximum) if self.quantized else x


def normalized(inputs, outputs, kernel, stride):
    conv = Conv(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Unit(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = normalized(inputs, outputs, 3, stride)
        self.between = Activation()
        self.second = normalized(outputs, outputs, 3, 1)
        changes = stride != 1 or inputs != outputs
        self.shortcut = normalized(inputs, outputs, 1, stride) if changes else nn.Identity()
        self.last = Activation()

    def forward(self, x):
        return self.last(self.second(self.between(self.first(x))) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(normalized(3, 16, 3, 1), Activation())
        units, inputs = [], 16
        for outputs, first_stride in [(16, 1), (32, 2), (64, 2)]:
            for index in range(3):
                units.append(Unit(inputs, outputs, first_stride if index == 0 else 1))
                inputs = outputs
        self.units = nn.Sequential(*units)
        self.output = Linear(64, CLASSES)

    def forward(self, x):
        return self.output(self.units(self.first(x)).mean((2, 3)))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, LATENT)
        self.linear = nn.Linear(LATENT, 128 * 8 * 8)
        self.start = nn.BatchNorm2d(128)
        self.middle = nn.Sequential(nn.Conv2d(128, 128, 3, 1, 1), nn.BatchNorm2d(128, 0.8))
        self.end = nn.Sequential(
            nn.Conv2d(128, 64, 3, 1, 1),
            nn.BatchNorm2d(64, 0.8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 3, 3, 1, 1),
            nn.Tanh(),
            nn.BatchNorm2d(3, affine=False),
        )

    def forward(self, noise, labels):
        x = self.linear(self.embedding(labels) * noise).view(-1, 128, 8, 8)
        x = F.interpolate(self.start(x), scale_factor=2)
        x = F.leaky_relu(self.middle(x), 0.2)
        return self.end(F.interpolate(x, scale_factor=2))


class Statistics:
    """Distance of the statistics of BatchNorm inputs from the stored ones, mean over layers."""

    def __init__(self, network):
        self.terms = []
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(self.collect)

    def collect(self, module, inputs, _):
        x = inputs[0].float()
        mean = x.mean((0, 2, 3))
        variance = x.var((0, 2, 3), unbiased=False)
        off_mean = F.mse_loss(mean, module.running_mean)
        self.terms.append(off_mean + F.mse_loss(variance, module.running_var))

    def take(self):
        terms, self.terms = self.terms, []
        return torch.stack(terms).mean()


def entropy(logits):
    logarithm = F.log_softmax(logits, 1)
    return -(logarithm.exp() * logarithm).sum(1)


def generator_loss(of_teacher, of_student, labels, statistics_loss):
    uncertain = entropy(of_teacher - of_student)
    least = uncertain.min()
    uncertain = (uncertain - least) / (math.log(CLASSES) - least)
    marginal = F.relu(0.1 - uncertain).mean() + F.relu(uncertain - 0.8).mean()
    balance = 0.2 * F.cross_entropy(of_teacher - of_student, labels)
    balance = balance + 0.1 * F.cross_entropy(of_teacher + of_student, labels)
    return marginal + balance + statistics_loss


def student_loss(of_teacher, of_student):
    temperature = 20.0
    return -(temperature**2) * entropy((of_teacher - of_student) / temperature).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--tf32", action="store_true", help="products of f32 in TF32")
    parser.add_argument("--bf16", action="store_true", help="generator and teacher in bf16")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = options.tf32
    torch.backends.cudnn.allow_tf32 = options.tf32
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)

    teacher = ResNet20().to(device).eval().requires_grad_(False)
    student = ResNet20().to(device).eval()
    student.load_state_dict(teacher.state_dict())
    for module in student.modules():
        if isinstance(module, (Conv, Linear, Activation)):
            module.quantized = True
    generator = Generator().to(device).train()
    of_teacher_statistics = Statistics(teacher)
    adam = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.999))
    sgd = torch.optim.SGD(
        student.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4, nesterov=True
    )

    def reduced():
        return torch.autocast(device.type, torch.bfloat16, enabled=options.bf16)

    def iteration():
        noise = torch.randn(options.batch, LATENT).to(device)
        labels = torch.randint(0, CLASSES, (options.batch,)).to(device)
        with reduced():
            images = generator(noise, labels)
            of_teacher = teacher(images)
        images, of_teacher = images.float(), of_teacher.float()
        loss = generator_loss(of_teacher, student(images), labels, of_teacher_statistics.take())
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss_of_student = student_loss(of_teacher.detach(), student(images.detach()))
        sgd.zero_grad()
        loss_of_student.backward()
        sgd.step()
        return loss.item(), loss_of_student.item()

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(10):
        iteration()
    wait()
    times = []
    for _ in range(options.iterations):
        start = time.perf_counter()
        iteration()
        wait()
        times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(
        f"PyTorch {torch.__version__} on {device} ({name}): {median:.2f} ms per iteration "
        f"(median of {len(times)}), {min(times):.2f} at best, "
        f"{1e3 * options.batch / median:.0f} images/s"
    )


if __name__ == "__main__":
    main()
