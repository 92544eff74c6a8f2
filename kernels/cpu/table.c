#include "kernels/cpu/table.h"

#include "kernels/cpu/ops.h"

void CPU(table_fill)(struct kernels *k) {
    k->cast = CPU(cast);
    k->add = CPU(add);
    k->gelu_forward = CPU(gelu_forward);
    k->gelu_backward = CPU(gelu_backward);
    k->swiglu_forward = CPU(swiglu_forward);
    k->swiglu_backward = CPU(swiglu_backward);
    k->rope_forward = CPU(rope_forward);
    k->rope_backward = CPU(rope_backward);
    k->embedding_forward = CPU(embedding_forward);
    k->embedding_backward = CPU(embedding_backward);
    k->embedding_scratch = CPU(embedding_scratch);
    k->layernorm_forward = CPU(layernorm_forward);
    k->layernorm_backward = CPU(layernorm_backward);
    k->rmsnorm_forward = CPU(rmsnorm_forward);
    k->rmsnorm_backward = CPU(rmsnorm_backward);
    k->norm_scratch = CPU(layernorm_scratch);
    k->matmul_forward = CPU(matmul_forward);
    k->matmul_backward_input = CPU(matmul_backward_input);
    k->matmul_backward_weight = CPU(matmul_backward_weight);
    k->matmul_scratch = CPU(matmul_scratch);
    k->attention = CPU(attention);
    k->classifier = CPU(classifier);
    k->norm_partials = CPU(norm_partials);
    k->adamw = CPU(adamw);
}
