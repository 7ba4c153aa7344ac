import os

from flask import Flask

app = Flask(__name__)


@app.route("/")
def index():
    return f"Web Application [{os.environ['APP_NUMBER']}]\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)
