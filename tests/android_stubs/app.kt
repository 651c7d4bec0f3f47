package android.app

import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.view.View

open class Activity : Context() {
    companion object {
        const val RESULT_OK = -1
    }

    protected open fun onCreate(savedInstanceState: Bundle?) {}

    protected open fun onDestroy() {}

    protected open fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {}

    open fun setContentView(view: View) {}

    open fun startActivityForResult(intent: Intent, requestCode: Int) {}

    fun runOnUiThread(action: Runnable) {}
}
