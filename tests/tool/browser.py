# SPDX-License-Identifier: GPL-2.0-or-later
"""A headless Chromium that shows one page, and what the page says and does.

    test --- JSON messages through two pipes, each ended by a zero ---> Chromium
"""

import json
import os
import select
import subprocess
import tempfile
import time

CHROMIUM = 'chromium'


class Browser:
    """Use it in a with statement.

    @complaints: exceptions, and what the browser has logged about the page
    """

    def __init__(self, page, ceiling_s):
        self.ceiling_s = ceiling_s
        self.complaints = []
        self.number = 0
        self.received = b''
        self.session = None
        # pylint: disable=consider-using-with
        self.profile = tempfile.TemporaryDirectory(prefix='qemu-replay-web-')
        to_read, self.to_write = os.pipe()
        self.to_read, to_write = os.pipe()
        self.process = subprocess.Popen(
            ['sh', '-c', f'exec "$@" 3<&{to_read} 4>&{to_write}', 'sh',
             CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu',
             '--remote-debugging-pipe', '--no-first-run',
             f'--user-data-dir={self.profile.name}', 'about:blank'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        self.open(page)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to_write)
        os.close(self.to_read)
        self.profile.cleanup()

    def message(self, end):
        """The next message of the browser."""
        while b'\0' not in self.received:
            ready, _, _ = select.select([self.to_read], [], [],
                                        max(0, end - time.monotonic()))
            data = os.read(self.to_read, 1 << 16) if ready else b''
            if not data:
                raise OSError('the browser does not answer')
            self.received += data
        text, _, self.received = self.received.partition(b'\0')
        message = json.loads(text)
        method = message.get('method')
        if method in ('Runtime.exceptionThrown', 'Log.entryAdded',
                      'Runtime.consoleAPICalled'):
            self.complaints.append(message['params'])
        return message

    def command(self, method, **params):
        self.number += 1
        words = {'id': self.number, 'method': method, 'params': params}
        if self.session:
            words['sessionId'] = self.session
        os.write(self.to_write, json.dumps(words).encode() + b'\0')
        end = time.monotonic() + self.ceiling_s
        while True:
            message = self.message(end)
            if message.get('id') == self.number:
                if 'error' in message:
                    raise OSError(f'{method}: {message["error"]}')
                return message['result']

    def open(self, page):
        targets = self.command('Target.getTargets')['targetInfos']
        target, = [t['targetId'] for t in targets if t['type'] == 'page']
        self.session = self.command('Target.attachToTarget', targetId=target,
                                    flatten=True)['sessionId']
        for domain in ('Runtime', 'Log', 'Page'):
            self.command(domain + '.enable')
        self.command('Page.navigate', url='file://' + page)
        end = time.monotonic() + self.ceiling_s
        while self.value('document.readyState') != 'complete':
            if time.monotonic() > end:
                raise OSError('the page does not load')
            time.sleep(0.05)

    def value(self, expression):
        """What an expression has as its value in the page."""
        result = self.command('Runtime.evaluate', expression=expression,
                              returnByValue=True)
        if 'exceptionDetails' in result:
            raise OSError(f'{expression}: {result["exceptionDetails"]}')
        return result['result'].get('value')
