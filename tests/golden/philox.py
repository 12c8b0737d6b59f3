"""Philox4x32-10 in numpy: the random numbers that the golden files are made from.

The engine has the same generator, so weights, images and labels need not be
stored: a test makes them again from (seed, step, purpose, index) and compares
the SHA-256 in the golden file before it compares anything else.

Convention
    key     = (seed mod 2^32, seed div 2^32)
    counter = (block mod 2^32, block div 2^32, step, purpose)
    element i of a stream is word i mod 4 of block i div 4
    uniform = (word >> 8) * 2^-24, in [0, 1), exact in float32
"""
import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW_WORD = np.uint64(0xFFFFFFFF)
WORD_BITS = np.uint64(32)


def philox4x32(counter, key):
    """Ten rounds on many counters at once.

    counter: four arrays (or numbers) of 32-bit words that broadcast together;
    key: two 32-bit numbers. Returns uint32 [..., 4].
    """
    # Products of two 32-bit words need 64 bits, so all words are held in uint64.
    words = np.broadcast_arrays(*[np.asarray(word, dtype=np.uint64) for word in counter])
    key = list(key)
    for _ in range(ROUNDS):
        product0 = words[0] * np.uint64(MULTIPLIERS[0])
        product1 = words[2] * np.uint64(MULTIPLIERS[1])
        words = [
            (product1 >> WORD_BITS) ^ words[1] ^ np.uint64(key[0]),
            product1 & LOW_WORD,
            (product0 >> WORD_BITS) ^ words[3] ^ np.uint64(key[1]),
            product0 & LOW_WORD,
        ]
        key = [(k + increment) % 2**32 for k, increment in zip(key, KEY_INCREMENTS)]
    return np.stack(words, axis=-1).astype(np.uint32)


def stream(seed, step, purpose, count):
    """The first `count` words of a stream, uint32 [count]."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    counter = (blocks & LOW_WORD, blocks >> WORD_BITS, step, purpose)
    return philox4x32(counter, (seed % 2**32, seed // 2**32)).reshape(-1)[:count]


def uniform(words):
    """Words to float32 in [0, 1), on a grid of 2^-24."""
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def assert_known_answers():
    """The generator's published known answers (Random123, kat_vectors)."""
    ones = 0xFFFFFFFF
    known = [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for counter, key, expected in known:
        found = tuple(int(word) for word in philox4x32(counter, key))
        assert found == expected, f"philox{counter}{key}: expected {expected}, found {found}"


assert_known_answers()
