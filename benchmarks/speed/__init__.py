"""``python -m benchmarks.speed``: speed and memory beside what most people would write.

Commands of their own: ``….speed.finetune``, ``….adapt``, ``….models``, ``….pretrain_memory`` and ``….l1``.
"""
