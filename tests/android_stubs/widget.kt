package android.widget

import android.content.Context
import android.graphics.Bitmap
import android.view.View
import android.view.ViewGroup

open class TextView(context: Context) : View(context) {
    var text: CharSequence = ""
    var textSize: Float = 0f
}

class Button(context: Context) : TextView(context)

class ImageView(context: Context) : View(context) {
    enum class ScaleType { CENTER_CROP }

    var scaleType: ScaleType = ScaleType.CENTER_CROP

    fun setImageBitmap(bitmap: Bitmap?) {}
}

class LinearLayout(context: Context) : ViewGroup(context) {
    class LayoutParams(width: Int, height: Int) : ViewGroup.LayoutParams() {
        companion object {
            const val MATCH_PARENT = -1
        }
    }

    var orientation: Int = 0

    companion object {
        const val VERTICAL = 1
    }
}

class ScrollView(context: Context) : ViewGroup(context)

class ProgressBar(context: Context, attributes: Any?, style: Int) : View(context) {
    var max: Int = 0
    var progress: Int = 0
}
