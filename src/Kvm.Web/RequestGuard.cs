using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace Kvm.Web;

/// <summary>
/// Who may ask. A page of this machine alone can be reached by every program and every page a browser has open: by whoever knows the
/// token, under this address's own name, and from no other page.
/// </summary>
/// <remarks>
/// <para>The token is the first part of the path for what the browser loads by itself. Commands and events want it as a header as well, which
/// no form and no image can send, and no page of another origin without asking (Fetch, "CORS-preflight"), which is never granted.</para>
/// <para>A name that is made to point at 127.0.0.1 (DNS rebinding) is told by Host.</para>
/// </remarks>
internal sealed class RequestGuard
{
    /// <summary>The header of commands and events.</summary>
    public const string Header = "X-Kvmsharp-Token";

    private readonly byte[] _token;
    private readonly string[] _hosts;

    /// <param name="token">The token, of characters that a path may have.</param>
    /// <param name="port">The port that is listened on.</param>
    public RequestGuard(string token, int port)
    {
        _token = Encoding.ASCII.GetBytes(token);
        _hosts = [$"127.0.0.1:{port}", $"localhost:{port}"];
    }

    /// <summary>Sixteen bytes of the kernel's, in hexadecimal.</summary>
    /// <remarks>From the device: the runtime's own generator needs a library that a host may lack.</remarks>
    public static string NewToken()
    {
        Span<byte> bytes = stackalloc byte[16];
        using var random = new FileStream("/dev/urandom", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        random.ReadExactly(bytes);
        return Convert.ToHexStringLower(bytes);
    }

    /// <summary>Why a request is refused, or null. Its path begins with the token.</summary>
    /// <param name="request">The request.</param>
    /// <param name="needsHeader">It commands or reads, so the header is wanted.</param>
    public string? Refusal(HttpRequest request, bool needsHeader)
    {
        string host = request.Headers.Host.ToString();
        if (!_hosts.Contains(host, StringComparer.OrdinalIgnoreCase))
            return "this page is served at 127.0.0.1 alone";
        string origin = request.Headers.Origin.ToString();
        if (origin.Length > 0 && !origin.Equals($"http://{host}", StringComparison.OrdinalIgnoreCase))
            return "another page may not ask";
        string site = request.Headers["Sec-Fetch-Site"].ToString();
        if (needsHeader && site is not ("" or "same-origin"))
            return "another page may not ask";
        if (needsHeader && !IsToken(request.Headers[Header].ToString()))
            return "the token is missing or another one";
        return null;
    }

    /// <summary>Parts a path into the token and what follows.</summary>
    /// <returns>What follows, without a slash; null where the path does not begin with the token.</returns>
    public string? Behind(string path)
    {
        int end = path.IndexOf('/', Math.Min(1, path.Length));
        return end > 0 && IsToken(path[1..end]) ? path[(end + 1)..] : null;
    }

    private bool IsToken(string text)
    {
        Span<byte> bytes = stackalloc byte[64];
        return text.Length <= bytes.Length && Encoding.ASCII.TryGetBytes(text, bytes, out int length) && CryptographicOperations.FixedTimeEquals(bytes[..length], _token);
    }
}
