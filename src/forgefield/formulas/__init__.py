"""The mathematics, written once.

Every function here takes Python numbers, NumPy arrays, torch tensors or other traced values and uses only
arithmetic and the few functions of `namespace.functions_of`. The same text therefore is the float64 truth on
NumPy, the differentiable path on torch, and whatever a further backend traces it into.
"""
