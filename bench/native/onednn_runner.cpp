// oneDNN 2.6 on one thread, behind the protocol in ../process.ts. Compiled by ../contenders/index.ts:
//   g++ -O2 -o onednn_runner onednn_runner.cpp -ldnnl
// Each primitive is created once for the shape (which compiles it), then executed.
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "oneapi/dnnl/dnnl.hpp"

using dnnl::memory;
using tag = memory::format_tag;
using Arguments = std::unordered_map<int, memory>;

struct Shape {
  std::string family, layout;
  memory::dim n, c, h, w;
};

struct Operation {
  dnnl::primitive primitive;
  Arguments arguments;
  std::map<std::string, memory> outputs;
};

static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
static dnnl::stream stream(engine);

static memory read(const std::string &folder, const char *name, const memory::desc &desc) {
  memory result(desc, engine);
  std::ifstream file(folder + "/" + name + ".f32", std::ios::binary);
  file.read(static_cast<char *>(result.get_data_handle()), static_cast<std::streamsize>(desc.get_size()));
  if (!file) throw std::runtime_error(std::string("cannot read ") + name);
  return result;
}

static void write(const std::string &folder, const std::string &name, const memory &values) {
  std::ofstream file(folder + "/" + name + ".f32", std::ios::binary);
  file.write(static_cast<const char *>(values.get_data_handle()),
             static_cast<std::streamsize>(values.get_desc().get_size()));
}

static void run(Operation &operation) {
  operation.primitive.execute(stream, operation.arguments);
  stream.wait();
}

using Operations = std::map<std::string, Operation>;

// Scale and shift as the two rows of one memory: with the newer flags, use_scale | use_shift, version 2.6 takes
// plain loops for batch normalization (1024 x 1024 forward: 19 ms, against 0.4 ms compiled for the shape).
static memory scale_shift(memory::dim c) {
  return memory({{2, c}, memory::data_type::f32, tag::nc}, engine);
}

static std::map<std::string, memory> rows_of(const memory &pair, memory::dim c, memory dx) {
  const memory::desc row({c}, memory::data_type::f32, tag::a);
  float *data = static_cast<float *>(pair.get_data_handle());
  return {{"dx", dx}, {"dgamma", memory(row, engine, data)}, {"dbeta", memory(row, engine, data + c)}};
}

// Batch and layer normalization differ in nothing but their class and whose statistics they keep.
template <typename Forward, typename Backward>
static Operations normalization(const memory::desc &minibatch, const memory::desc &statistics, memory::dim c,
                                const std::string &folder, bool running) {
  const float eps = 1e-5f;
  const auto affine = dnnl::normalization_flags::use_scale_shift;
  const memory::desc channels({c}, memory::data_type::f32, tag::a);

  const memory x = read(folder, "x", minibatch), dy = read(folder, "dy", minibatch), out(minibatch, engine);
  const memory weights = scale_shift(c), dweights = scale_shift(c);
  const memory mean(statistics, engine), variance(statistics, engine);
  const auto parameters = rows_of(weights, c, out);
  for (const char *name : {"gamma", "beta"}) {
    const memory values = read(folder, name, channels);
    std::memcpy(parameters.at(std::string("d") + name).get_data_handle(), values.get_data_handle(),
                values.get_desc().get_size());
  }

  const auto arguments = [&](const memory &m, const memory &v) {
    return Arguments{{DNNL_ARG_SRC, x},
                     {DNNL_ARG_DST, out},
                     {DNNL_ARG_SCALE_SHIFT, weights},
                     {DNNL_ARG_MEAN, m},
                     {DNNL_ARG_VARIANCE, v}};
  };
  const typename Forward::primitive_desc train({dnnl::prop_kind::forward_training, minibatch, eps, affine}, engine);
  const typename Backward::primitive_desc backward({dnnl::prop_kind::backward, minibatch, minibatch, eps, affine},
                                                   engine, train);
  Arguments gradients = arguments(mean, variance);
  gradients.erase(DNNL_ARG_DST);
  gradients.insert({{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, out}, {DNNL_ARG_DIFF_SCALE_SHIFT, dweights}});
  Operations result{{"train", {Forward(train), arguments(mean, variance), {{"y", out}}}},
                    {"backward", {Backward(backward), gradients, rows_of(dweights, c, out)}}};
  if (running) {
    const typename Forward::primitive_desc evaluate(
        {dnnl::prop_kind::forward_inference, minibatch, eps, affine | dnnl::normalization_flags::use_global_stats},
        engine);
    const memory m = read(folder, "mean", channels), v = read(folder, "var", channels);
    result.insert({"eval", {Forward(evaluate), arguments(m, v), {{"y", out}}}});
  }
  run(result.at("train"));  // the statistics that backward needs
  return result;
}

static Operations prepare(const Shape &shape, const std::string &folder) {
  const auto f32 = memory::data_type::f32;
  if (shape.family == "layer-norm") {
    return normalization<dnnl::layer_normalization_forward, dnnl::layer_normalization_backward>(
        {{shape.n, shape.c}, f32, tag::nc}, {{shape.n}, f32, tag::a}, shape.c, folder, false);
  }
  // a matrix is an image of one position: given as two axes, it gets plain loops instead of compiled ones
  const tag order = shape.layout == "channels-last" ? tag::nhwc : tag::nchw;
  return normalization<dnnl::batch_normalization_forward, dnnl::batch_normalization_backward>(
      {{shape.n, shape.c, shape.h, shape.w}, f32, order}, {{shape.c}, f32, tag::a}, shape.c, folder, true);
}

static double seconds_of_calls(Operation &operation, long calls) {
  const auto start = std::chrono::steady_clock::now();
  for (long i = 0; i < calls; i++) run(operation);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int main() {
  Operations prepared;
  std::string folder;
  std::cout << "= ok" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, op;
    words >> command;
    try {
      if (command == "prepare") {
        Shape shape;
        words >> shape.family >> shape.layout >> shape.n >> shape.c >> shape.h >> shape.w >> folder;
        prepared.clear();
        if (shape.family == "rms-norm") {
          std::cout << "= unsupported oneDNN 2.6 has no RMS norm" << std::endl;
          continue;
        }
        prepared = prepare(shape, folder);
        std::cout << "= ok";
        for (const auto &entry : prepared) std::cout << " " << entry.first;
      } else if (command == "check") {
        words >> op;
        Operation &operation = prepared.at(op);
        run(operation);
        std::cout << "= ok";
        for (const auto &output : operation.outputs) {
          write(folder, output.first, output.second);
          std::cout << " " << output.first;
        }
      } else if (command == "time") {
        long samples, calls;
        words >> op >> samples >> calls;
        Operation &operation = prepared.at(op);
        std::cout << "= ok";
        for (long s = 0; s < samples; s++) std::cout << " " << seconds_of_calls(operation, calls) * 1e9 / double(calls);
      } else if (command == "close") {
        prepared.clear();
        std::cout << "= ok";
      }
      std::cout << std::endl;
    } catch (const std::exception &error) {
      std::cout << "= error " << error.what() << std::endl;
    }
  }
}
