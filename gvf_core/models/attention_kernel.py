"""Attention in float32 on a CPU: the numba kernel behind `cpu_attention`.

Queries lie in the lanes of vectors, and a block of them meets a block of tokens, whose channels are broadcast. The two
matrix products, with 2 ** score between them, are written as LLVM vector instructions that numba compiles with the
loops around them: loops that LLVM vectorises by itself keep nothing in registers, and are no faster than torch.

The sums are those of softmax, relative to a bound on the scores of each query (online softmax, Milakov and Gimelshein
2018). Here the bound follows only when a block of tokens exceeds it by 2 ** HEADROOM, so that most blocks are done
in one go. numba's cache notices changes in this file, and another processor, but nothing else: what the machine code
depends on stands here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from gvf_core.numba_compile import inline, kernel

# These are part of the key under which numba keeps machine code.
_TRIPLE, _, _features = cpu_target.target_context.codegen().magic_tuple()
_FEATURES = frozenset(_features.split(","))
MEASURED = _TRIPLE.startswith("x86_64") and "+fma" in _FEATURES
"""Whether the kernel is known to be faster than torch: on processors with AVX2 or AVX-512. It runs on all."""

_WIDE = "+avx512f" in _FEATURES
_LANES = 16 if _WIDE else 8
_VECTORS = 4 if _WIDE else 2
"""Of queries in a block; there are 32 registers with AVX-512, else 16."""
ROWS = _VECTORS * _LANES
"""Queries in a block."""
PART = 512
"""Queries of one head and item that are a unit of work: many for the tokens that are laid out for them."""
_TILE = 6
"""Tokens whose scores are held in registers."""
_GROUP = 5
"""Channels whose sums are held in registers."""
_UNROLL = 2
"""Tokens that are added to them in one pass of the loop; divides _TILE."""
_BLOCK = 60
"""Tokens whose weights are kept in the first cache (15 KB); _TILE divides it."""
_HEADROOM = 32.0
_FLOOR = -100.0
"""Weights below 2 ** _FLOOR are set to it: with denormal numbers this takes eight times as long."""
_LOG2_E = 1.4426950408889634
_EXP2 = (1.000000072, 0.6931469671, 0.2402211972, 0.05550713273, 0.009675541334, 0.001327647199)
"""2 ** r for |r| <= 1/2, highest power last; largest relative error 7e-8 (minimax)."""

_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INTS = ir.VectorType(_FLOAT, _LANES), ir.VectorType(_INT, _LANES)
# An instruction without flags would get those of `kernel`, and reassociation undoes the rounding of `exp2`.
_EXACT = ("contract",)

_instructions: Any = intrinsic
"""numba's annotation would count the typing context among a call's arguments."""


class _Writer:
    """Writes vector instructions; places in arrays are counted in floats."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def load(self, base: Any, index: Any) -> Any:
        return self.builder.load(self._vector_at(base, index), align=4)

    def store(self, value: Any, base: Any, index: Any) -> None:
        self.builder.store(value, self._vector_at(base, index), align=4)

    def broadcast(self, base: Any, index: Any) -> Any:
        b, nothing = self.builder, ir.Constant(_VECTOR, ir.Undefined)
        first = b.insert_element(nothing, b.load(b.gep(base, [index])), _INT(0))
        return b.shuffle_vector(first, nothing, ir.Constant(_INTS, [_INT(0)] * _LANES))

    def place(self, index: Any, step: Any, offset: int = 0) -> Any:
        """Index * step + offset."""
        b = self.builder
        return b.add(b.mul(index, step if isinstance(step, ir.Value) else _LONG(step)), _LONG(offset))

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y, flags=_EXACT)

    def sub(self, x: Any, y: Any) -> Any:
        return self.builder.fsub(x, y, flags=_EXACT)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.v{_LANES}f32")
        return self.builder.call(function, [x, y, z])

    def larger(self, x: Any, y: Any) -> Any:
        """The larger one; y if x or y is NaN."""
        b = self.builder
        return b.select(b.fcmp_ordered(">", x, y, flags=_EXACT), x, y)

    def exp2(self, x: Any) -> Any:
        """2 ** x for x < 127; not below 2 ** _FLOOR; NaN stays."""
        # Adding this number rounds x, and leaves the biased exponent in the lowest bits.
        b, magic = self.builder, _constant(1.5 * 2**23 + 127)
        x = self.larger(_constant(_FLOOR), x)
        shifted = self.add(x, magic)
        rest = self.sub(x, self.sub(shifted, magic))
        power = _constant(_EXP2[-1])
        for coefficient in _EXP2[-2::-1]:
            power = self.multiply_add(power, rest, _constant(coefficient))
        exponent = b.shl(b.bitcast(shifted, _INTS), ir.Constant(_INTS, [_INT(23)] * _LANES))
        return b.fmul(power, b.bitcast(exponent, _VECTOR), flags=_EXACT)

    def loop(self, count: Any, step: int, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Values carried through a loop that runs at least once."""
        b, before = self.builder, self.builder.block
        inside, after = b.append_basic_block("inside"), b.append_basic_block("after")
        b.branch(inside)
        b.position_at_end(inside)
        index, carried = b.phi(_LONG), [b.phi(_VECTOR) for _ in start]
        result, following = body(index, list(carried)), b.add(index, _LONG(step))
        for phi, first, last in zip([index, *carried], [_LONG(0), *start], [following, *result], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(last, b.block)
        b.cbranch(b.icmp_signed("<", following, count), inside, after)
        b.position_at_end(after)
        return result

    def _vector_at(self, base: Any, index: Any) -> Any:
        b = self.builder
        return b.bitcast(b.gep(base, [index]), _VECTOR.as_pointer())


def _constant(x: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, float(np.float32(x)))] * _LANES)


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """The arguments, with arrays as pointers to their data."""
    return [
        context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


@_instructions
def _weigh(_: Any, queries: Any, keys: Any, channels: Any, tokens: Any, bound: Any, weights: Any, top: Any) -> Any:
    """weights[token] = 2 ** (query . key - bound); top = the largest query . key.

    Queries are [channels, ROWS], keys [tokens / _TILE, channels, _TILE], weights [tokens, ROWS].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        w, zero = _Writer(builder), _constant(0)
        queries, keys, channels, tokens, bound, weights, top = _pointers(context, builder, signature, arguments)
        bounds = [w.load(bound, _LONG(v * _LANES)) for v in range(_VECTORS)]

        def tile(first: Any, tops: list[Any]) -> list[Any]:
            start = w.place(first, channels)

            def channel(c: Any, scores: list[Any]) -> list[Any]:
                q = [w.load(queries, w.place(c, ROWS, v * _LANES)) for v in range(_VECTORS)]
                k = [w.broadcast(keys, builder.add(start, w.place(c, _TILE, t))) for t in range(_TILE)]
                pairs = ((t, v) for t in range(_TILE) for v in range(_VECTORS))
                return [w.multiply_add(q[v], k[t], score) for (t, v), score in zip(pairs, scores, strict=True)]

            scores = w.loop(channels, 1, [zero] * (_TILE * _VECTORS), channel)
            for n, score in enumerate(scores):
                tops[n % _VECTORS] = w.larger(score, tops[n % _VECTORS])
                weight = w.exp2(w.sub(score, bounds[n % _VECTORS]))
                w.store(weight, weights, w.place(first, ROWS, n * _LANES))
            return tops

        for v, value in enumerate(w.loop(tokens, _TILE, [_constant(-np.inf)] * _VECTORS, tile)):
            w.store(value, top, _LONG(v * _LANES))
        return context.get_dummy_value()

    return types.void(queries, keys, channels, tokens, bound, weights, top), generate


@_instructions
def _accumulate(_: Any, values: Any, groups: Any, stride: Any, tokens: Any, weights: Any, sums: Any) -> Any:
    """sums[channel] += weights . values[channel].

    Values are [groups, tokens, _GROUP] with a stride between groups, weights [tokens, ROWS], sums [channels, ROWS].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        w, vectors = _Writer(builder), range(_VECTORS)
        values, groups, stride, tokens, weights, sums = _pointers(context, builder, signature, arguments)

        def group(index: Any, _: list[Any]) -> list[Any]:
            start = w.place(index, stride)

            def body(first: Any, parts: list[Any]) -> list[Any]:
                for t in range(_UNROLL):
                    weight = [w.load(weights, w.place(first, ROWS, t * ROWS + v * _LANES)) for v in vectors]
                    for c in range(_GROUP):
                        value = w.broadcast(values, builder.add(start, w.place(first, _GROUP, t * _GROUP + c)))
                        for v in vectors:
                            n = c * _VECTORS + v
                            parts[n] = w.multiply_add(weight[v], value, parts[n])
                return parts

            # From zero for each block: shorter sums round less.
            for n, part in enumerate(w.loop(tokens, _UNROLL, [_constant(0)] * (_GROUP * _VECTORS), body)):
                place = w.place(index, _GROUP * ROWS, n * _LANES)
                w.store(w.add(part, w.load(sums, place)), sums, place)
            return []

        w.loop(groups, 1, [], group)
        return context.get_dummy_value()

    return types.void(values, groups, stride, tokens, weights, sums), generate


@inline
def _aligned(rows, columns):
    """An array whose vectors do not straddle cache lines."""
    buffer = np.empty(rows * columns + 16, np.float32)
    first = (-(buffer.ctypes.data // 4)) % 16
    return buffer[first : first + rows * columns].reshape(rows, columns)


@inline
def _lay_out(keys, values, key_tiles, value_groups):
    """Keys in tiles of tokens and values in groups of channels, with ones behind the channels to sum the weights.

    Tokens are filled up to whole tiles with the last one, whose value is zero there.
    """
    tokens, channels = keys.shape
    for t in range(key_tiles.shape[1] // channels):
        key = keys[min(t, tokens - 1)]
        place = t // _TILE * channels * _TILE + t % _TILE
        for c in range(channels):
            key_tiles[0, place + c * _TILE] = key[c]
    value_channels = values.shape[1]
    value_groups[:] = 0
    for t in range(tokens):
        value = values[t]
        for c in range(value_channels):
            value_groups[c // _GROUP, t * _GROUP + c % _GROUP] = value[c]
        value_groups[value_channels // _GROUP, t * _GROUP + value_channels % _GROUP] = 1


@inline
def _raise_bound(top, bound, sums):
    """Make the largest scores the bounds and the sums relative to them; NaN where a score is infinite."""
    for i in range(ROWS):
        highest = max(bound[0, i], top[0, i])
        lower = np.float32(2) ** (bound[0, i] - highest) if abs(highest) < np.inf else np.float32(np.nan)
        for c in range(sums.shape[0]):
            sums[c, i] *= lower
        bound[0, i] = highest


@kernel
def attend_units(queries, keys, values, scale, out, first, end):
    """Softmax attention of units [first, end): PART queries of one head of one item are a unit.

    Args:
        queries: [batch, heads, queries, channels].
        keys: [1 or batch, 1 or heads, tokens, channels].
        values: [1 or batch, 1 or heads, tokens, value channels].
        scale: Factor on the scores.
        out: [batch, queries, heads, value channels], receives the result.
        first: First unit.
        end: One past the last unit.
    """
    _, heads, count, channels = queries.shape
    tokens, value_channels = values.shape[2:]
    padded = -(-tokens // _TILE) * _TILE
    groups = value_channels // _GROUP + 1
    factor = np.float32(scale * _LOG2_E)
    key_tiles, value_groups = _aligned(1, padded * channels), _aligned(groups, padded * _GROUP)
    q, sums, weights = _aligned(channels, ROWS), _aligned(groups * _GROUP, ROWS), _aligned(_BLOCK, ROWS)
    bound, top = _aligned(1, ROWS), _aligned(1, ROWS)
    parts = -(-count // PART)
    laid_out = (-1, -1)
    for unit in range(first, end):
        pair, part = unit // parts, unit % parts
        batch, head = pair // heads, pair % heads
        context = (batch % keys.shape[0], head % keys.shape[1])
        if context != laid_out:
            _lay_out(keys[context], values[context], key_tiles, value_groups)
            laid_out = context
        for row in range(part * PART, min((part + 1) * PART, count), ROWS):
            for i in range(ROWS):
                source = queries[batch, head, min(row + i, count - 1)]
                for c in range(channels):
                    q[c, i] = source[c] * factor
            # What the first tokens score will do as the bound for nearly all queries.
            sums[:] = 0
            bound[:] = -np.inf
            _weigh(q, key_tiles, channels, _TILE, bound, weights, top)
            _raise_bound(top, bound, sums)
            for start in range(0, padded, _BLOCK):
                size = min(_BLOCK, padded - start)
                tiles = key_tiles[0, start * channels :]
                _weigh(q, tiles, channels, size, bound, weights, top)
                exceeded = False
                for i in range(ROWS):
                    exceeded |= top[0, i] > bound[0, i] + np.float32(_HEADROOM)
                if exceeded:
                    _raise_bound(top, bound, sums)
                    _weigh(q, tiles, channels, size, bound, weights, top)
                _accumulate(value_groups[0, start * _GROUP :], groups, padded * _GROUP, size, weights, sums)
            for i in range(min(ROWS, count - row)):
                inverse = np.float32(1) / sums[value_channels, i]
                for c in range(value_channels):
                    out[batch, row + i, head, c] = sums[c, i] * inverse
