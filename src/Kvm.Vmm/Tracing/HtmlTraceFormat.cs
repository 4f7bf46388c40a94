using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;

namespace Kvm.Vmm.Tracing;

/// <summary>
/// A trace as a page of one file, for a browser: the exits as JSON inside it, a script that draws them (<see cref="TracePage"/>). What a
/// guest wrote is data: the JSON escapes what HTML would take for markup, the script only makes text of it, and the page's policy lets no
/// other script run and nothing be fetched.
/// </summary>
internal sealed class HtmlTraceFormat(SymbolTable? symbols) : ITraceFormat
{
    private readonly JsonTraceFormat _json = new(symbols, JavaScriptEncoder.Default);
    private bool _begun;
    private bool _any;

    public void Begin(TraceOutput output)
    {
        string head = $"""
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{TracePage.StyleHash}'; script-src 'sha256-{TracePage.ScriptHash}'">
            <meta name="viewport" content="width=device-width">
            <title>Exits of a guest</title>
            <style>{TracePage.Style}</style>
            <script>{TracePage.Script}</script>
            </head>
            <body>
            {TracePage.Body}
            <script type="application/json" id="exits">[

            """;
        _begun = output.TryAdd(Encoding.UTF8.GetBytes(head));
    }

    public bool Write(TraceOutput output, in ExitSample sample)
    {
        if (!_begun || !output.TryAdd(_json.Line(_any ? ","u8 : default, in sample)))
            return false;
        _any = true;
        return true;
    }

    public void End(TraceOutput output, long lost)
    {
        if (_begun)
            output.AddEnd(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"]</script>\n<data id=\"lost\" value=\"{lost}\"></data>\n</body>\n</html>\n")));
    }

    public void Dispose() => _json.Dispose();
}
