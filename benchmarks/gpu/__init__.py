"""What only a CUDA GPU can show: benchmarks/gpu.sh."""
