package com.example.classifier

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import kotlin.math.exp

/** The model of the assets. Not for several threads at once. */
class Classifier(assets: AssetManager) : AutoCloseable {
    /** best: the best classes with their shares, the best first; ms: the time of the model alone. */
    class Answer(val best: List<Pair<String, Double>>, val ms: Double)

    private val labels = assets.open("labels.txt").bufferedReader().use { it.readLines() }
    private val model = CompiledModel.create(assets, "model.tflite", CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** pixels: as [pixels] makes them. */
    fun classify(pixels: IntArray): Answer {
        // LiteRT's Kotlin has no word for uint8; its bytes are written and read as those of int8.
        if (Model.QUANTIZED_INPUT) inputs[0].writeInt8(bytes(pixels)) else inputs[0].writeFloat(floats(pixels))
        val start = System.nanoTime()
        model.run(inputs, outputs)
        val values = if (Model.QUANTIZED_OUTPUT) real(outputs[0].readInt8()) else outputs[0].readFloat()
        val ms = (System.nanoTime() - start) / 1e6
        val shares = if (Model.PROBABILITIES) values.map { it.toDouble() } else softmax(values)
        val best = shares.indices.sortedByDescending { shares[it] }.take(BEST)
        return Answer(best.map { labels[it] to shares[it] }, ms)
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }

    private fun real(bytes: ByteArray) =
        FloatArray(bytes.size) { ((bytes[it].toInt() and 255) - Model.OUTPUT_ZERO_POINT) * Model.OUTPUT_SCALE }

    private fun softmax(logits: FloatArray): List<Double> {
        val largest = logits.max()
        val powers = logits.map { exp((it - largest).toDouble()) }
        val total = powers.sum()
        return powers.map { it / total }
    }

    private companion object {
        const val BEST = 5
    }
}
