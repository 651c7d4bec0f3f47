package android.content.res

import java.io.InputStream

class AssetManager {
    fun open(fileName: String): InputStream = TODO()
}

class Resources {
    val displayMetrics: DisplayMetrics get() = TODO()
}

class DisplayMetrics {
    @JvmField var density: Float = 1f
}
