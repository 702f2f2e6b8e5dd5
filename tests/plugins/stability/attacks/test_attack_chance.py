import torch

from steelyard_stability.attacks.chance import FIRST, GOLDEN, SECOND, WORD, mixed, normal, uniform


def slowly(word: int) -> int:
    word = (word + GOLDEN) % WORD
    word = ((word ^ (word >> 30)) * FIRST) % WORD
    word = ((word ^ (word >> 27)) * SECOND) % WORD
    return word ^ (word >> 31)


def test_it_is_the_finaliser_of_split_mix() -> None:
    words = [0, 1, 2**63, 2**64 - 1, 123456789123456789]
    signed = torch.tensor([word - WORD if word >= 2**63 else word for word in words])

    assert [int(word) % WORD for word in mixed(signed)] == [slowly(word) for word in words]
    # The first output of SplitMix64 with seed 1234567, as published with the algorithm.
    assert slowly(1234567) == 6457827717110365317


def test_draws_belong_to_the_example() -> None:
    numbers = torch.arange(50)
    whole = uniform(numbers, 7, seed=3, stream=5)

    alone = torch.cat([uniform(numbers[[row]], 7, seed=3, stream=5) for row in range(50)])
    assert torch.equal(whole, alone)
    assert torch.equal(whole[:, :3], uniform(numbers, 3, seed=3, stream=5))
    for other in (uniform(numbers, 7, seed=4, stream=5), uniform(numbers, 7, seed=3, stream=6)):
        assert not bool((other == whole).any())


def test_draws_are_uniform_and_normal() -> None:
    numbers = torch.arange(400)
    flat, bell = (draw(numbers, 501, seed=0, stream=0) for draw in (uniform, normal))

    assert 0 <= float(flat.min()) < float(flat.max()) < 1
    assert abs(float(flat.mean()) - 1 / 2) < 0.003
    assert abs(float(flat.var()) - 1 / 12) < 0.001
    assert abs(float(torch.corrcoef(flat[:, :2].T)[0, 1])) < 0.2
    assert abs(float(bell.mean())) < 0.01
    assert abs(float(bell.var()) - 1) < 0.02
    assert abs(float((bell.abs() > 1.959964).double().mean()) - 0.05) < 0.003
