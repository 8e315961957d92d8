"""The eight corruptions of Robo3D (Kong et al. 2023), one a file; `registry` names them."""
