"""Benchmarks beside a plain baseline and a hand-written loop: python -m bench [ROW …] [--quick]

A package of the checkout only: neither the wheel nor fer_lightning itself needs it.
"""
