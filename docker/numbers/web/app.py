"""The page that shows a number. Where the API is stands in appsettings.json; RngApi__Url in the environment wins."""

import json
import os
import urllib.error
import urllib.request

from flask import Flask

app = Flask(__name__)
with open("appsettings.json") as file:
    settings = json.load(file)
rng_url = os.environ.get("RngApi__Url", settings["RngApi"]["Url"])


@app.get("/")
def index():
    try:
        with urllib.request.urlopen(rng_url, timeout=5) as answer:
            return f"Your number is {answer.read().decode().strip()}\n"
    except urllib.error.HTTPError as error:
        return f"There are no numbers now: {error.code}, {error.read().decode().strip()}\n", 503
    except OSError as error:
        return f"There are no numbers now: {error}\n", 503


@app.get("/health")
def health():
    return "ok\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=80)
