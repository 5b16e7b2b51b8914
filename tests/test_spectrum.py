"""Log amplitudes against numpy's transform, and how they turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.encoding import volumes

from cryoreg.encoders.specs import RB3DSpec
from cryoreg.encoders.spectrum import FLOOR, log_amplitudes, with_spectrum
from cryoreg.turns import cube_rotations


def test_odd_boxes_have_the_amplitudes_of_the_discrete_fourier_transform():
    x = volumes(2, (5, 7, 9))
    power = np.abs(np.fft.fftshift(np.fft.fftn(x.double().numpy(), axes=(2, 3, 4)), axes=(2, 3, 4))) ** 2
    assert np.allclose(log_amplitudes(x), np.log(power / (5 * 7 * 9) + FLOOR), atol=1e-3)


def test_even_boxes_have_frequencies_at_halves():
    """That of half a period along z, and the same along y and x, of which a cosine has all power in eight places."""
    places = (np.arange(6) - 2.5) / 6
    wave = np.cos(np.pi * places)
    x = torch.from_numpy(np.einsum("i,j,k->ijk", wave, wave, wave)[None, None]).float()
    found = log_amplitudes(x).exp() - FLOOR
    assert found.flatten().sort().indices[-8:].sort().values.tolist() == [
        36 * z + 6 * y + k for z in (2, 3) for y in (2, 3) for k in (2, 3)
    ]
    assert float(found.sum()) == pytest.approx(float(x.square().sum()), rel=1e-4)  # Parseval


@pytest.mark.parametrize("edge", [6, 7])
def test_the_spectrum_turns_with_the_volume(edge):
    x = volumes(1, (edge, edge, edge))
    for rotation in cube_rotations():
        assert torch.allclose(with_spectrum(rotation(x)), rotation(with_spectrum(x)), atol=2e-3)


def test_rb3d_sees_the_spectrum_as_a_second_channel():
    torch.manual_seed(0)
    network, x = RB3DSpec(width=4, fourier_channel=True).build(), volumes(2, (8, 8, 8))
    assert network.conv1.in_channels == 2
    plain = RB3DSpec(width=4).build()
    plain.load_state_dict(network.state_dict() | {"conv1.weight": network.conv1.weight[:, :1]})
    with torch.no_grad():
        assert not torch.allclose(plain(x), network(x), atol=1e-2)
        network.conv1.weight[:, 1] = 0
        assert torch.allclose(plain(x), network(x), atol=1e-6)
