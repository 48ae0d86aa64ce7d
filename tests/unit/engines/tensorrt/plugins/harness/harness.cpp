// Drives the plugins as TensorRT does: through the creators of getCreators, with a logger that keeps what is said and a
// builder of shape expressions that knows constants and unknown dimensions. Called from Python by ctypes. Linked with
// emulated kernels it runs on the host; as a library of its own it drives the plugin library that is loaded before it.
#include <NvInferRuntime.h>

#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "registration/creators.h"

using namespace nvinfer1;

namespace {

class KeepingLogger final : public ILogger {
  public:
    void log(Severity severity, const AsciiChar* message) noexcept override {
        if (severity <= Severity::kERROR) {
            text += std::string(message) + "\n";
        }
    }
    std::string text;
};
KeepingLogger keepingLogger;

class Finder final : public ILoggerFinder {
  public:
    ILogger* findLogger() override { return &keepingLogger; }
    virtual ~Finder() = default;
};
Finder finder;

// A dimension: a constant, or, below zero, the number of an unknown one.
class Expression final : public IDimensionExpr, public apiv::VDimensionExpr {
  public:
    explicit Expression(int64_t given) : value(given) { mImpl = this; }
    bool isConstant() const override { return value >= 0; }
    int64_t getConstantValue() const override { return value; }
    bool isSizeTensor() const override { return false; }
    const int64_t value;
};

class Builder final : public IExprBuilder, public apiv::VExprBuilder {
  public:
    Builder() { mImpl = this; }
    const IDimensionExpr* constant(int64_t value) override { return &expressions.emplace_back(value); }
    const IDimensionExpr* operation(DimensionOperation, const IDimensionExpr&, const IDimensionExpr&) override {
        return nullptr;
    }
    const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&, const IDimensionExpr&) override {
        return nullptr;
    }

  private:
    std::deque<Expression> expressions;
};

template <typename Capability>
Capability* capability(void* plugin, PluginCapabilityType type) {
    return static_cast<Capability*>(static_cast<IPluginV3*>(plugin)->getCapabilityInterface(type));
}
IPluginV3OneBuild* build(void* plugin) { return capability<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD); }
IPluginV3OneRuntime* runtime(void* plugin) {
    return capability<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

IPluginCreatorV3One* creator(int index) {
    int32_t count = 0;
    IPluginCreatorInterface* const* const creators = getCreators(count);
    return index < count ? static_cast<IPluginCreatorV3One*>(creators[index]) : nullptr;
}

IPluginCreatorV3One* creator(const char* name) {
    for (int i = 0; IPluginCreatorV3One* const found = creator(i); ++i) {
        if (std::strcmp(found->getPluginName(), name) == 0) {
            return found;
        }
    }
    return nullptr;
}

struct Description {
    int32_t rank;
    int32_t maxRank;  // of the profile's; 0 or -1 where it says nothing
    int32_t type;
    int32_t format;
    float scale;
    int64_t dims[8];
    int64_t maxDims[8];  // of the profile; those of `dims` where the shape is fixed
};

Dims dimsOf(int32_t rank, const int64_t* given) {
    Dims result{};
    result.nbDims = rank;
    for (int32_t i = 0; i < rank; ++i) {
        result.d[i] = given[i];
    }
    return result;
}

PluginTensorDesc fixedOf(const Description& given) {
    PluginTensorDesc result{};
    result.dims = dimsOf(given.rank, given.dims);
    result.type = static_cast<DataType>(given.type);
    result.format = static_cast<TensorFormat>(given.format);
    result.scale = given.scale;
    return result;
}

std::vector<PluginTensorDesc> fixed(const Description* given, int32_t count) {
    std::vector<PluginTensorDesc> result;
    for (int32_t i = 0; i < count; ++i) {
        result.push_back(fixedOf(given[i]));
    }
    return result;
}

std::vector<DynamicPluginTensorDesc> dynamic(const Description* given, int32_t count) {
    std::vector<DynamicPluginTensorDesc> result(count);
    for (int32_t i = 0; i < count; ++i) {
        result[i].desc = fixedOf(given[i]);
        result[i].max = dimsOf(given[i].maxRank, given[i].maxDims);
        result[i].min = result[i].opt = result[i].max;
        for (int32_t j = 0; j < given[i].maxRank; ++j) {
            if (given[i].dims[j] < given[i].maxDims[j]) {
                result[i].min.d[j] = result[i].opt.d[j] = 1;
            }
        }
    }
    return result;
}

}  // namespace

extern "C" {

const char* harnessLog() {
    static std::string given;
    given = std::move(keepingLogger.text);
    keepingLogger.text.clear();
    return given.c_str();
}

void harnessStart() { setLoggerFinder(&finder); }

const char* harnessCreatorName(int index) { return creator(index) ? creator(index)->getPluginName() : nullptr; }
const char* harnessCreatorVersion(int index) { return creator(index)->getPluginVersion(); }
const char* harnessCreatorNamespace(int index) { return creator(index)->getPluginNamespace(); }
int harnessFieldCount(int index) { return creator(index)->getFieldNames()->nbFields; }
const char* harnessFieldName(int index, int field) { return creator(index)->getFieldNames()->fields[field].name; }
int harnessFieldType(int index, int field) {
    return static_cast<int>(creator(index)->getFieldNames()->fields[field].type);
}

void* harnessCreate(const char* name, int count, const char** names, const int* types, const void** data,
                    const int* lengths) {
    std::vector<PluginField> fields;
    for (int i = 0; i < count; ++i) {
        fields.emplace_back(names[i], data[i], static_cast<PluginFieldType>(types[i]), lengths[i]);
    }
    const PluginFieldCollection collection{count, fields.data()};
    return creator(name)->createPlugin("node", &collection, TensorRTPhase::kBUILD);
}

void* harnessCreateFrom(const char* name, int count, bool isNull) {
    const std::vector<PluginField> unnamed(count, PluginField(nullptr, nullptr, PluginFieldType::kINT32, 1));
    const PluginFieldCollection collection{count, isNull ? nullptr : unnamed.data()};
    return creator(name)->createPlugin("node", &collection, TensorRTPhase::kBUILD);
}

void harnessDestroy(void* plugin) { delete static_cast<IPluginV3*>(plugin); }
void* harnessClone(void* plugin) { return static_cast<IPluginV3*>(plugin)->clone(); }
void* harnessAttach(void* plugin) { return runtime(plugin)->attachToContext(nullptr); }

const char* harnessName(void* plugin) {
    return capability<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE)->getPluginName();
}
const char* harnessTimingCacheId(void* plugin) { return build(plugin)->getTimingCacheID(); }

// What an engine does: it keeps the bytes of the fields, and creates the plugin from them when it is loaded.
void* harnessRoundTrip(void* plugin) {
    const PluginFieldCollection* const fields = runtime(plugin)->getFieldsToSerialize();
    std::deque<std::vector<char>> bytes;
    std::vector<PluginField> copies;
    for (int32_t i = 0; i < fields->nbFields; ++i) {
        const PluginField& field = fields->fields[i];
        const size_t size = field.length * (field.type == PluginFieldType::kCHAR ? 1 : 4);
        // One byte on: an engine aligns nothing.
        bytes.emplace_back(size + 1);
        std::memcpy(bytes.back().data() + 1, field.data, size);
        copies.emplace_back(field.name, bytes.back().data() + 1, field.type, field.length);
    }
    const PluginFieldCollection collection{static_cast<int32_t>(copies.size()), copies.data()};
    return creator(harnessName(plugin))->createPlugin("node", &collection, TensorRTPhase::kRUNTIME);
}

int harnessOutputType(void* plugin, const int* types, int inputs) {
    std::vector<DataType> given;
    for (int i = 0; i < inputs; ++i) {
        given.push_back(static_cast<DataType>(types[i]));
    }
    DataType output{};
    return build(plugin)->getOutputDataTypes(&output, 1, given.data(), inputs) == 0 ? static_cast<int>(output) : -1;
}

int harnessOutputShape(void* plugin, const Description* tensors, int inputs, int64_t* dims) {
    std::deque<Expression> expressions;
    std::vector<DimsExprs> given(inputs);
    for (int i = 0; i < inputs; ++i) {
        given[i].nbDims = tensors[i].rank;
        for (int j = 0; j < tensors[i].rank; ++j) {
            given[i].d[j] = &expressions.emplace_back(tensors[i].dims[j]);
        }
    }
    Builder builder;
    DimsExprs output{};
    if (build(plugin)->getOutputShapes(given.data(), inputs, nullptr, 0, &output, 1, builder) != 0) {
        return -1;
    }
    for (int i = 0; i < output.nbDims; ++i) {
        dims[i] = output.d[i]->getConstantValue();
    }
    return output.nbDims;
}

int harnessSupports(void* plugin, int position, const Description* tensors, int inputs) {
    const auto given = dynamic(tensors, inputs + 1);
    return build(plugin)->supportsFormatCombination(position, given.data(), inputs, 1);
}

int harnessConfigure(void* plugin, const Description* tensors, int inputs) {
    const auto given = dynamic(tensors, inputs + 1);
    return build(plugin)->configurePlugin(given.data(), inputs, &given[inputs], 1);
}

// Writes the tactics, and gives their number; -1 where the plugin refuses.
int harnessTactics(void* plugin, int* tactics) {
    const int count = build(plugin)->getNbTactics();
    return count == 0 || build(plugin)->getValidTactics(tactics, count) == 0 ? count : -1;
}

int harnessSetTactic(void* plugin, int tactic) { return runtime(plugin)->setTactic(tactic); }

size_t harnessWorkspaceBytes(void* plugin, const Description* tensors, int inputs) {
    const auto given = dynamic(tensors, inputs + 1);
    return build(plugin)->getWorkspaceSize(given.data(), inputs, &given[inputs], 1);
}

int harnessShapeChange(void* plugin, const Description* tensors, int inputs) {
    const auto given = fixed(tensors, inputs + 1);
    return runtime(plugin)->onShapeChange(given.data(), inputs, &given[inputs], 1);
}

int harnessEnqueue(void* plugin, const Description* tensors, int inputs, const void** addresses, void* output,
                   void* workspace, cudaStream_t stream) {
    const auto given = fixed(tensors, inputs + 1);
    return runtime(plugin)->enqueue(given.data(), &given[inputs], addresses, &output, workspace, stream);
}

}  // extern "C"
