// Stands for a library, so that the counter-example that calls one links.
extern "C" int cublasHgemm() {
  return 0;
}
