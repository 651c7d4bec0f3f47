plugins {
    id("com.android.application")
}

android {
    namespace = "com.example.classifier"
    compileSdk = 36

    defaultConfig {
        applicationId = "com.example.classifier"
        minSdk = 28
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.0")
}
