#!/bin/sh
# install-canicor.sh: Canicor itself beside its packages, the list of all of them as CycloneDX has it, and nothing that
# a server has no use for.
set -eu
/opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .
/opt/build/bin/pip --python /opt/canicor/bin/python install --quiet --no-cache-dir --no-deps /tmp/wheel/canicor-*.whl
/opt/build/bin/pip --python /opt/canicor/bin/python check
/opt/build/bin/cyclonedx-py environment --output-file /opt/canicor/sbom.json /opt/canicor/bin/python
cd /opt/canicor/lib/python3*/site-packages
# Tests, headers, types.
find . -depth -type d \( -name tests -o -name include \) -exec rm -r {} +
find . -type f -name '*.pyi' -delete
# Of OpenVINO, what is for other devices than processors and for other files than ONNX.
if [ -d openvino ]; then
    cd openvino/libs
    rm cache.json libopenvino_intel_gpu_plugin.so libopenvino_intel_npu_plugin.so
    find . -name 'libopenvino_*_frontend.so.*' ! -name '*_onnx_*' ! -name '*_ir_*' -delete
fi
