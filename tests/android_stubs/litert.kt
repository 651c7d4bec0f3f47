package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { CPU }

class CompiledModel : AutoCloseable {
    class Options(vararg accelerators: Accelerator)

    fun createInputBuffers(): List<TensorBuffer> = TODO()

    fun createOutputBuffers(): List<TensorBuffer> = TODO()

    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>) {}

    override fun close() {}

    companion object {
        fun create(assetManager: AssetManager, assetName: String, options: Options): CompiledModel = TODO()
    }
}

class TensorBuffer : AutoCloseable {
    fun writeFloat(data: FloatArray) {}

    fun writeInt8(data: ByteArray) {}

    fun readFloat(): FloatArray = TODO()

    fun readInt8(): ByteArray = TODO()

    override fun close() {}
}
