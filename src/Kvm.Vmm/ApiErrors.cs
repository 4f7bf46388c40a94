namespace Kvm.Vmm;

/// <summary>The errors of requests over HTTP, KVM0700–KVM0719.</summary>
public static class ApiErrors
{
    /// <summary>No such path.</summary>
    public static readonly ErrorInfo NoSuchPath = new("KVM0700", "there is nothing of that path",
        "The request's path is none of this API's.",
        "See what there is: curl --unix-socket SOCKET http://localhost/openapi.json; docs/api.md")
    { ExitCode = ExitCode.Usage };

    /// <summary>Another method.</summary>
    public static readonly ErrorInfo WrongMethod = new("KVM0701", "the path is not used in that way",
        "The path is there, but not with the request's method.",
        "Use one of the methods that the answer's header Allow names.")
    { ExitCode = ExitCode.Usage };

    /// <summary>The request is not understood.</summary>
    public static readonly ErrorInfo BadRequest = new("KVM0702", "the request is not understood",
        "Its body is no JSON, is nested deeper than 64 levels, has a member that is not known or of another type, or its query has a word that is not known.",
        "See what it takes: curl --unix-socket SOCKET http://localhost/openapi.json; docs/api.md")
    { ExitCode = ExitCode.Usage };

    /// <summary>Too much.</summary>
    public static readonly ErrorInfo TooLarge = new("KVM0703", "the request is too large",
        "A body has 1 MiB at most, a header 16 KiB.",
        "Send less: large things are files, which requests name by their paths.")
    { ExitCode = ExitCode.Usage };

    /// <summary>Too many at a time.</summary>
    public static readonly ErrorInfo TooMany = new("KVM0704", "too many do that at a time",
        "Streams of events and consoles are bounded in number.",
        "Close one of them, or try again.");

    /// <summary>The socket cannot be made.</summary>
    public static readonly ErrorInfo NoSocket = new("KVM0705", "the API's socket cannot be made",
        "Something else is at its path (a file, a link, another user's socket), its folder is not there or not writable, or the path is longer than 107 bytes.",
        "Look at what is there (ls -l PATH), or name another path: --socket PATH");

    /// <summary>There is one already.</summary>
    public static readonly ErrorInfo OtherManager = new("KVM0706", "another manager serves this state folder",
        "There is one kvmsharp serve of a state folder.",
        "Use that one, end it, or name another folder: KVMSHARP_STATE=FOLDER kvmsharp serve");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoSuchPath, WrongMethod, BadRequest, TooLarge, TooMany, NoSocket, OtherManager];
}
