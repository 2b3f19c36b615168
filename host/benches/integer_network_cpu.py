#!/usr/bin/env python3
"""Images per second of packed networks and of ONNX Runtime's int8 network, in one run.

    python3 -m venv venv && venv/bin/pip install onnxruntime onnx
    venv/bin/python host/benches/integer_network_cpu.py --onnx resnet20.onnx \
        [--lowbit target/release/lowbit] [--threads N] [--rounds N] model.lowbit...

ONNX Runtime gets the float network of `--onnx`, quantized as its documentation advises for x86-64
with VNNI: statically, QDQ format, 8-bit unsigned activations, 8-bit signed weights with a scale per
output channel. Ranges are measured on noise: they do not change the time. Its time runs from
normalised float images to logits, lowbit's from bytes to logits. Networks of CIFAR-10's size.

Both sides take turns, round after round, so that whatever else the computer does hits both; shown
are medians. "images/s" is wall-clock time on `--threads` threads, with the portable kernels beside
it. "per CPU second" is the processor time of one thread, which a busy computer falsifies less; the
ratio is that of these figures to ONNX Runtime's at the batch size that suits it best.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

PEER = "ONNX Runtime int8"
BATCHES = [1, 16, 64, 256]
SECONDS = 0.4
# Images of two runs of lowbit, whose difference in processor time is that of the images between.
FEW, MANY = 400, 2400


class Noise(quantization.CalibrationDataReader):
    """A few batches of images for calibration."""

    def __init__(self, name, shape):
        generator = numpy.random.default_rng(0)
        images = generator.standard_normal((4, 16, *shape), dtype=numpy.float32)
        self.batches = iter([{name: batch} for batch in images])

    def get_next(self):
        return next(self.batches, None)


class OnnxRuntime:
    """The quantized network in a session of several threads, and in one of a single thread."""

    def __init__(self, path, threads, folder):
        logging.disable(logging.WARNING)
        onnxruntime.set_default_logger_severity(3)
        float_session = session(path, threads)
        self.input = float_session.get_inputs()[0].name
        self.shape = float_session.get_inputs()[0].shape[1:]
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            Noise(self.input, self.shape),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
        self.threaded, self.single = session(quantized, threads), session(quantized, 1)

    def speed(self, batch):
        return self.rate(self.threaded, batch, time.perf_counter)

    def cpu_speed(self, batch):
        return self.rate(self.single, batch, time.process_time)

    def rate(self, runner, batch, clock):
        images = numpy.zeros((batch, *self.shape), dtype=numpy.float32)
        runner.run(None, {self.input: images})
        done, start = 0, clock()
        while clock() - start < SECONDS:
            runner.run(None, {self.input: images})
            done += batch
        return done / (clock() - start)


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Lowbit:
    """A packed network in processes of the program."""

    def __init__(self, program, model, threads, folder):
        self.program, self.model, self.threads = program, model, threads
        self.data = Path(folder) / "noise.bin"
        images = numpy.random.default_rng(0).integers(0, 256, (MANY, 3073), dtype=numpy.uint8)
        images[:, 0] %= 10
        images.tofile(self.data)

    def run(self, threads, *arguments):
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        command = [self.program, *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        return json.loads(done.stdout)

    def speeds(self, backend, batches):
        batches = ",".join(map(str, batches))
        options = ["--backend", backend, "--rounds", "1", "--batch", batches]
        result = self.run(self.threads, "bench", self.model, *options)
        return {it["batch"]: it["images_per_second"] for it in result["backends"][0]["speeds"]}

    def cpu_speed(self, backend, few, many):
        return (many - few) / (self.cpu_seconds(backend, many) - self.cpu_seconds(backend, few))

    def cpu_seconds(self, backend, images):
        start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        data = ["--data", f"cifar10:{self.data}", "--limit", str(images)]
        self.run(1, "eval", self.model, "--backend", backend, *data)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start


def measure(peer, models, rounds):
    """Figures of all rounds by side and batch size: wall-clock, and processor time."""
    wall, cpu = {}, {}

    def add(table, name, batch, figure):
        table.setdefault((name, batch), []).append(figure)

    for _ in range(rounds):
        for batch in BATCHES:
            add(wall, PEER, batch, peer.speed(batch))
            add(cpu, PEER, batch, peer.cpu_speed(batch))
        for model in models:
            name = f"lowbit {Path(model.model).stem}"
            for batch, speed in model.speeds("cpu", BATCHES).items():
                add(wall, name, batch, speed)
            # Whole batches, whatever their number.
            add(cpu, name, BATCHES[-1], model.cpu_speed("cpu", FEW, MANY))
            for batch, speed in model.speeds("portable", [16]).items():
                add(wall, f"{name}, portable", batch, speed)
            add(cpu, f"{name}, portable", 16, model.cpu_speed("portable", 8, 40))
    return wall, cpu


def show(wall, cpu):
    cpu = {key: statistics.median(figures) for key, figures in cpu.items()}
    best = max(figure for (name, _), figure in cpu.items() if name == PEER)
    print(f"{'':26}  batch  images/s  per CPU second  ratio")
    for (name, batch), figures in wall.items():
        line = f"{name:26}  {batch:5}  {statistics.median(figures):8.0f}"
        if (name, batch) in cpu:
            figure = cpu[name, batch]
            line += f"  {figure:14.0f}  {figure / best:5.2f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="packed files of the same network")
    parser.add_argument("--onnx", required=True, help="the float network")
    parser.add_argument("--lowbit", default="target/release/lowbit", help="the program")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    threads, rounds = arguments.threads, arguments.rounds
    with tempfile.TemporaryDirectory() as folder:
        peer = OnnxRuntime(arguments.onnx, threads, folder)
        models = [Lowbit(arguments.lowbit, it, threads, folder) for it in arguments.models]
        wall, cpu = measure(peer, models, rounds)
    print(f"ONNX Runtime {onnxruntime.__version__}; {threads} threads each")
    show(wall, cpu)


if __name__ == "__main__":
    main()
