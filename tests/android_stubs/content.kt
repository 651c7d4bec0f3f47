package android.content

import android.content.res.AssetManager
import android.content.res.Resources
import android.net.Uri

open class Context {
    val assets: AssetManager get() = TODO()
    val contentResolver: ContentResolver get() = TODO()
    val resources: Resources get() = TODO()
}

class ContentResolver

open class Intent(action: String) {
    val data: Uri? get() = TODO()

    fun addCategory(category: String): Intent = TODO()

    fun setType(type: String?): Intent = TODO()

    companion object {
        const val ACTION_GET_CONTENT = ""
        const val CATEGORY_OPENABLE = ""

        fun createChooser(target: Intent, title: CharSequence?): Intent = TODO()
    }
}
