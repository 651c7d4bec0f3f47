package com.example.classifier

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

// A picture to the model's input, as edgecls makes it in Python: the same steps, the same rounding.

/** Reads a rectangle of a picture: colours as 0xAARRGGBB, row by row. */
fun interface Reader {
    fun read(left: Int, top: Int, width: Int, height: Int): IntArray
}

/** The pixels that the model sees, 0..255: CROP * CROP times red, green and blue, or gray. */
fun pixels(width: Int, height: Int, reader: Reader): IntArray {
    val short = min(width, height)
    val stretched = (Model.RESIZE.toDouble() * max(width, height) / short).toInt()
    val toWidth = if (width == short) Model.RESIZE else stretched
    val toHeight = if (width == short) stretched else Model.RESIZE
    val across = Kernels(width, toWidth)
    val down = Kernels(height, toHeight)
    // As Pillow has it, whose first pass rounds: a tall picture's columns come first. It is turned over for that.
    val turned = height - toHeight > max(2 * (width - toWidth), 0)
    val first = if (turned) down else across
    val second = if (turned) across else down
    val rows = squeeze(reader, turned, first, second.from, second.to)
    val line = Model.CROP * Model.CHANNELS
    val out = IntArray(Model.CROP * line)
    for (i in 0 until Model.CROP) {
        val start = (second.starts[i] - second.from) * line
        for (j in 0 until line) {
            var sum = HALF
            for (k in 0 until second.weights[i].size) sum += second.weights[i][k] * rows[start + k * line + j]
            val x = j / Model.CHANNELS
            val at = if (turned) x * Model.CROP + i else i * Model.CROP + x
            out[at * Model.CHANNELS + j % Model.CHANNELS] = (sum shr BITS).coerceIn(0, 255)
        }
    }
    return out
}

/** `(pixel - mean) / std`, in the model's order of axes. */
fun floats(pixels: IntArray): FloatArray {
    val area = Model.CROP * Model.CROP
    val out = FloatArray(pixels.size)
    for (i in 0 until area) {
        for (c in 0 until Model.CHANNELS) {
            val from = if (Model.BGR) Model.CHANNELS - 1 - c else c
            val value = (pixels[i * Model.CHANNELS + from].toFloat() - Model.MEAN[c]) / Model.STD[c]
            out[if (Model.CHANNELS_FIRST) c * area + i else i * Model.CHANNELS + c] = value
        }
    }
    return out
}

/** The same, quantized: the bytes of uint8. */
fun bytes(pixels: IntArray): ByteArray {
    val values = floats(pixels)
    return ByteArray(values.size) {
        val steps = Math.rint((values[it] / Model.INPUT_SCALE).toDouble()) + Model.INPUT_ZERO_POINT
        steps.coerceIn(0.0, 255.0).toInt().toByte()
    }
}

/** Lines that are read of a picture at once. */
private const val STRIP = 128

/** Weights are integers, this power of two to one, as in Pillow's resampling of bytes. */
private const val BITS = 22
private const val HALF = 1 shl (BITS - 1)

/** Of the pixels of the crop in one direction: which of the picture each is made of, and with what weights. */
private class Kernels(length: Int, resized: Int) {
    val starts = IntArray(Model.CROP)
    val weights: Array<IntArray>
    val from get() = starts.first()
    val to get() = starts.last() + weights.last().size

    init {
        val first = Math.rint((resized - Model.CROP) / 2.0).toInt()
        val scale = length.toDouble() / resized
        val stretch = max(scale, 1.0)
        val support = (if (Model.BICUBIC) 2.0 else 1.0) * stretch
        weights = Array(Model.CROP) { i ->
            val center = (first + i + 0.5) * scale
            val start = max((center - support + 0.5).toInt(), 0)
            val end = min((center + support + 0.5).toInt(), length)
            val real = DoubleArray(end - start) { weight((start + it - center + 0.5) / stretch) }
            val total = real.sum()
            starts[i] = start
            IntArray(real.size) {
                val share = real[it] / total * (1 shl BITS)
                (share + if (share < 0) -0.5 else 0.5).toInt()
            }
        }
    }

    private fun weight(x: Double): Double {
        val d = abs(x)
        val a = -0.5
        return when {
            !Model.BICUBIC -> max(1 - d, 0.0)
            d < 1 -> ((a + 2) * d - (a + 3)) * d * d + 1
            d < 2 -> (((d - 5) * d + 8) * d - 4) * a
            else -> 0.0
        }
    }
}

/** Lines `from` to `to` of the picture, rows or, where it is `turned` over, columns: each squeezed to CROP pixels. */
private fun squeeze(reader: Reader, turned: Boolean, along: Kernels, from: Int, to: Int): IntArray {
    val rows = IntArray((to - from) * Model.CROP * Model.CHANNELS)
    val length = along.to - along.from
    for (top in from until to step STRIP) {
        val count = min(STRIP, to - top)
        val block =
            if (turned) reader.read(top, along.from, count, length) else reader.read(along.from, top, length, count)
        for (y in 0 until count) {
            for (i in 0 until Model.CROP) {
                var red = HALF
                var green = HALF
                var blue = HALF
                along.weights[i].forEachIndexed { k, weight ->
                    val x = along.starts[i] - along.from + k
                    val color = opaque(block[if (turned) x * count + y else y * length + x])
                    red += weight * (color shr 16 and 255)
                    green += weight * (color shr 8 and 255)
                    blue += weight * (color and 255)
                }
                val out = ((top - from + y) * Model.CROP + i) * Model.CHANNELS
                rows[out] = (red shr BITS).coerceIn(0, 255)
                if (Model.CHANNELS == 3) {
                    rows[out + 1] = (green shr BITS).coerceIn(0, 255)
                    rows[out + 2] = (blue shr BITS).coerceIn(0, 255)
                }
            }
        }
    }
    return rows
}

/** `color` on white; for a gray model its luma (ITU-R 601-2) in place of red, in Pillow's integers. */
private fun opaque(color: Int): Int {
    val alpha = color ushr 24
    val red = on(color shr 16 and 255, alpha)
    val green = on(color shr 8 and 255, alpha)
    val blue = on(color and 255, alpha)
    if (Model.CHANNELS == 1) return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) shr 16 shl 16
    return red shl 16 or (green shl 8) or blue
}

private fun on(value: Int, alpha: Int) = if (alpha == 255) value else (value * alpha + 255 * (255 - alpha) + 127) / 255
