package android.view

import android.content.Context

open class View(context: Context) {
    fun interface OnClickListener {
        fun onClick(view: View)
    }

    var fitsSystemWindows: Boolean = false

    fun setPadding(left: Int, top: Int, right: Int, bottom: Int) {}

    fun setOnClickListener(listener: OnClickListener?) {}
}

open class ViewGroup(context: Context) : View(context) {
    open class LayoutParams {
        companion object {
            const val MATCH_PARENT = -1
        }
    }

    fun addView(child: View) {}

    fun addView(child: View, params: LayoutParams) {}

    fun removeAllViews() {}
}
