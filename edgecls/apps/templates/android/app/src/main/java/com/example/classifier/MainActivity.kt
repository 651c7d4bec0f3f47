package com.example.classifier

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.ScrollView
import android.widget.TextView
import java.io.IOException
import java.util.concurrent.Executors

/** One screen: choose a picture, see the five best classes. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: Classifier? = null // the worker's alone
    private lateinit var picture: ImageView
    private lateinit var status: TextView
    private lateinit var results: LinearLayout

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val page = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            val edge = dp(20)
            setPadding(edge, edge, edge, edge)
        }
        page.addView(text(Model.NAME, 24f))
        page.addView(text("${Model.PRECISION}, ${Model.MEGABYTES} MB", 14f))
        Model.NOTES.forEach { page.addView(text(it, 14f)) }
        picture = ImageView(this).apply { scaleType = ImageView.ScaleType.CENTER_CROP }
        page.addView(picture, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, dp(320)))
        val button = Button(this).apply {
            text = "Choose a picture"
            setOnClickListener { choose() }
        }
        page.addView(button)
        status = text("Loading the model …", 16f)
        page.addView(status)
        results = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        page.addView(results)
        setContentView(
            ScrollView(this).apply {
                fitsSystemWindows = true // not under the bars of the system
                addView(page)
            }
        )
        work { load() }
    }

    override fun onDestroy() {
        super.onDestroy()
        worker.execute { classifier?.close() }
        worker.shutdown()
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val chosen = data?.data
        if (resultCode == RESULT_OK && chosen != null) work { look(chosen) }
    }

    private fun choose() {
        val wanted = Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        startActivityForResult(Intent.createChooser(wanted, null), 1)
    }

    /** Off the screen's thread; what goes wrong is said on the screen. */
    private fun work(task: () -> Unit) {
        worker.execute {
            try {
                task()
            } catch (error: IOException) {
                say("This file cannot be read as a picture: ${error.message}")
            } catch (error: OutOfMemoryError) {
                say("This picture is too large for the memory of an app.")
            } catch (error: Exception) { // LiteRT's, above all
                say("That failed: ${error.message}")
            }
        }
    }

    private fun load() {
        classifier = Classifier(assets)
        say("Choose a picture.")
    }

    private fun look(uri: Uri) {
        val model = classifier ?: return // why is on the screen
        val bitmap = ImageDecoder.decodeBitmap(ImageDecoder.createSource(contentResolver, uri)) { decoder, _, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE // its pixels are read
        }
        val start = System.nanoTime()
        val seen = pixels(bitmap.width, bitmap.height) { left, top, width, height ->
            IntArray(width * height).also { bitmap.getPixels(it, 0, width, left, top, width, height) }
        }
        val prepared = (System.nanoTime() - start) / 1e6
        val answer = model.classify(seen)
        runOnUiThread { show(bitmap, answer, prepared) }
    }

    private fun show(bitmap: Bitmap, answer: Classifier.Answer, prepared: Double) {
        picture.setImageBitmap(bitmap)
        status.text = "%.1f ms model + %.1f ms picture".format(answer.ms, prepared)
        results.removeAllViews()
        for ((label, share) in answer.best) {
            results.addView(text(label + "  %.1f %%".format(100 * share), 16f))
            val bar = ProgressBar(this, null, android.R.attr.progressBarStyleHorizontal)
            bar.max = 1000
            bar.progress = (1000 * share).toInt()
            results.addView(bar)
        }
    }

    private fun say(words: String) = runOnUiThread { status.text = words }

    private fun text(words: String, size: Float) = TextView(this).apply {
        text = words
        textSize = size
        setPadding(0, dp(4), 0, dp(4))
    }

    private fun dp(length: Int) = (length * resources.displayMetrics.density).toInt()
}
