"""Webhooks as the reference library of Standard Webhooks signs them, sent to a receiver of ours that has the secret.

Usage: webhooks.py HTTP-URL SECRET OTHER-SECRET. A signature is a function of id, moment, body and secret: whoever takes exactly what
the reference makes, makes exactly what the reference takes. Says what it checked; ends with an error when something is not so.
"""

import datetime
import sys
import urllib.error
import urllib.request

from standardwebhooks import Webhook

url, secret, other = sys.argv[1:]
now = datetime.datetime.now(tz=datetime.timezone.utc)
body = '{"type":"order.accepted","data":{"customer":"naïve ‘é’ 日本","total":"19.90"}}'
checked = 0


def signed(key, moment=now, data=body, name="msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"):
    return name, str(int(moment.timestamp())), Webhook(key).sign(name, moment, data)


def answers(expected, parts, data=body, why=""):
    global checked
    name, moment, signature = parts
    headers = {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": moment,
        "webhook-signature": signature,
    }
    request = urllib.request.Request(url, data.encode(), headers)
    try:
        status = urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        status = error.code
    if status != expected:
        sys.exit(f"{why}: {status}, not {expected}")
    checked += 1


good = signed(secret)
answers(200, good, why="what the reference signed")
name, moment, signature = good
answers(200, (name, moment, f"{signed(other)[2]} {signature}"), why="two signatures, one of another secret")
answers(200, (name, moment, f"{signature} v2,AAAA v1a,AAAA"), why="signatures of versions to come")
answers(401, signed(other), why="another secret")
answers(401, good, body.replace("19.90", "19.91"), why="another body")
answers(401, ("msg_other", moment, signature), why="another id")
answers(401, (name, str(int(moment) + 1), signature), why="another moment")
late = now - datetime.timedelta(minutes=10)
answers(401, signed(secret, late), why="a signature of ten minutes ago")
print(f"{checked} signatures of the reference were taken or refused as it does")
