using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Kvm.Web.Tests;

/// <summary>A browser without a window, driven by its own protocol (Chrome DevTools Protocol) over a WebSocket.</summary>
internal sealed class Chromium : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(90);

    private readonly Process _process;
    private readonly DirectoryInfo _profile;
    private readonly ClientWebSocket _socket = new();
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonElement>> _asked = new();
    private readonly SemaphoreSlim _sending = new(1);
    private readonly CancellationTokenSource _closing = new();
    private Task _reading = Task.CompletedTask;
    private int _last;

    private Chromium(Process process, DirectoryInfo profile) => (_process, _profile) = (process, profile);

    /// <summary>What pages said on their consoles that is an error, and scripts that failed.</summary>
    public ConcurrentQueue<string> Errors { get; } = new();

    /// <summary>Starts one; skips the calling test where there is none.</summary>
    public static async Task<Chromium> Start()
    {
        string? program = ((string[])["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]).FirstOrDefault(File.Exists);
        Skip.If(program is null, "there is no chromium: apt-get install chromium");
        var profile = Directory.CreateTempSubdirectory("kvmsharp-chromium-");
        var start = new ProcessStartInfo(program!)
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            ArgumentList =
            {
                "--headless=new", "--remote-debugging-port=0", $"--user-data-dir={profile.FullName}", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1", "about:blank",
            },
        };
        // Its sandbox wants another user than root, or namespaces that a container may lack; what it is shown here is ours.
        start.ArgumentList.Insert(0, "--no-sandbox");
        var chromium = new Chromium(Process.Start(start)!, profile);
        try
        {
            await chromium.Connect();
            return chromium;
        }
        catch
        {
            await chromium.DisposeAsync();
            throw;
        }
    }

    /// <summary>Opens a page and makes it this wide and high.</summary>
    public async Task<Tab> Open(string address, int width = 1280, int height = 860, bool dark = false)
    {
        var made = await Ask("Target.createTarget", new() { ["url"] = "about:blank" });
        var attached = await Ask("Target.attachToTarget", new() { ["targetId"] = made.GetProperty("targetId").GetString(), ["flatten"] = true });
        var tab = new Tab(this, attached.GetProperty("sessionId").GetString()!);
        await tab.Ask("Runtime.enable");
        await tab.Ask("Log.enable");
        await tab.Ask("Page.enable");
        await tab.Resize(width, height);
        await tab.SetDark(dark);
        await tab.Ask("Page.navigate", new() { ["url"] = address });
        return tab;
    }

    public async Task<JsonElement> Ask(string method, JsonObject? parameters = null, string? session = null)
    {
        int id = Interlocked.Increment(ref _last);
        var answer = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        _asked[id] = answer;
        var request = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters ?? [] };
        if (session is not null)
            request["sessionId"] = session;
        await _sending.WaitAsync();
        try
        {
            await _socket.SendAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), WebSocketMessageType.Text, true, _closing.Token);
        }
        finally
        {
            _sending.Release();
        }

        return await answer.Task.WaitAsync(s_patience);
    }

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync();
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        await _reading;
        _socket.Dispose();
        _process.Dispose();
        _sending.Dispose();
        _closing.Dispose();
        DeleteProfile();
    }

    private async Task Connect()
    {
        const string announced = "DevTools listening on ";
        var listens = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        _process.ErrorDataReceived += (_, line) =>
        {
            if (line.Data is null)
                listens.TrySetException(new IOException("chromium ended before it listened"));
            else if (line.Data.StartsWith(announced, StringComparison.Ordinal))
                listens.TrySetResult(line.Data[announced.Length..]);
        };
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        string address = await listens.Task.WaitAsync(s_patience);
        await _socket.ConnectAsync(new Uri(address), _closing.Token);
        _reading = Task.Run(Read);
    }

    private async Task Read()
    {
        var buffer = new byte[1 << 16];
        var message = new MemoryStream();
        try
        {
            while (!_closing.IsCancellationRequested)
            {
                message.SetLength(0);
                ValueWebSocketReceiveResult part;
                do
                {
                    part = await _socket.ReceiveAsync(buffer.AsMemory(), _closing.Token);
                    message.Write(buffer, 0, part.Count);
                }
                while (!part.EndOfMessage);
                if (part.MessageType == WebSocketMessageType.Close)
                    break;
                Take(JsonDocument.Parse(message.ToArray()).RootElement);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or WebSocketException)
        {
            // It is over.
        }

        foreach (var waiting in _asked.Values)
            waiting.TrySetException(new IOException("chromium is gone"));
    }

    private void Take(JsonElement message)
    {
        if (message.TryGetProperty("id", out var id) && _asked.TryRemove(id.GetInt32(), out var waiting))
        {
            if (message.TryGetProperty("error", out var error))
                waiting.TrySetException(new InvalidOperationException(error.GetRawText()));
            else
                waiting.TrySetResult(message.GetProperty("result"));
            return;
        }

        string method = message.TryGetProperty("method", out var name) ? name.GetString()! : "";
        if (method == "Runtime.exceptionThrown" || (method == "Log.entryAdded" && message.GetProperty("params").GetProperty("entry").GetProperty("level").GetString() == "error"))
            Errors.Enqueue(message.GetProperty("params").GetRawText());
    }

    private void DeleteProfile()
    {
        // Its children write until they are gone, which is after their parent.
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                _profile.Delete(recursive: true);
                return;
            }
            catch (DirectoryNotFoundException)
            {
                return;
            }
            catch (IOException) when (attempt < 100)
            {
                Thread.Yield();
            }
        }
    }
}

/// <summary>One page of the browser.</summary>
internal sealed class Tab(Chromium browser, string session)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    public Task<JsonElement> Ask(string method, JsonObject? parameters = null) => browser.Ask(method, parameters, session);

    public Task Resize(int width, int height) =>
        Ask("Emulation.setDeviceMetricsOverride", new() { ["width"] = width, ["height"] = height, ["deviceScaleFactor"] = 1, ["mobile"] = false });

    public Task SetDark(bool dark) => Ask("Emulation.setEmulatedMedia",
        new() { ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = dark ? "dark" : "light" }) });

    /// <summary>The value of an expression; of a promise, what it comes to.</summary>
    public async Task<JsonElement> Evaluate(string expression)
    {
        var answer = await Ask("Runtime.evaluate", new() { ["expression"] = expression, ["awaitPromise"] = true, ["returnByValue"] = true });
        if (answer.TryGetProperty("exceptionDetails", out var failure))
            throw new InvalidOperationException(failure.GetRawText());
        return answer.GetProperty("result").TryGetProperty("value", out var value) ? value : default;
    }

    public async Task<string> Text(string selector) => (await Evaluate($"document.querySelector({Quoted(selector)})?.textContent ?? ''")).GetString()!;

    /// <summary>Waits until an expression is true: asked at each frame the page draws.</summary>
    public async Task Until(string condition)
    {
        long deadline = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while ((await Evaluate($"new Promise(done => {{ const look = left => {{ let holds = false; try {{ holds = !!({condition}); }} catch {{ }} holds || left === 0 ? done(holds) : setTimeout(() => look(left - 1), 20); }}; look(100); }})")).ValueKind != JsonValueKind.True)
        {
            if (Environment.TickCount64 > deadline)
                throw new TimeoutException($"{condition} did not come true; the page says: {(await Evaluate("document.body?.innerText ?? ''")).GetString()}");
        }
    }

    public Task Click(string selector) => Evaluate($"document.querySelector({Quoted(selector)}).click()");

    /// <summary>Presses a key as a person does: down and up, where the focus is.</summary>
    public async Task Press(string key)
    {
        string text = key.Length == 1 ? key : key == "Enter" ? "\r" : "";
        foreach (string type in (string[])["keyDown", "keyUp"])
        {
            var parameters = new JsonObject { ["type"] = type, ["key"] = key, ["windowsVirtualKeyCode"] = key switch { "Enter" => 13, "Tab" => 9, "Escape" => 27, " " => 32, _ => 0 } };
            if (text.Length > 0 && type == "keyDown")
                parameters["text"] = text;
            await Ask("Input.dispatchKeyEvent", parameters);
        }
    }

    /// <summary>Types a text where the focus is.</summary>
    public Task Type(string text) => Ask("Input.insertText", new() { ["text"] = text });

    /// <summary>Writes what is seen as PNG.</summary>
    public async Task Screenshot(string path)
    {
        var answer = await Ask("Page.captureScreenshot", new() { ["format"] = "png" });
        await File.WriteAllBytesAsync(path, answer.GetProperty("data").GetBytesFromBase64());
    }

    private static string Quoted(string text) => JsonSerializer.Serialize(text);
}
