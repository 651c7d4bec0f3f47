// What the example for Android uses of Android and LiteRT, declared as their documentation has it; none of it does anything.
package android

class R {
    object attr {
        const val progressBarStyleHorizontal = 1
    }
}
