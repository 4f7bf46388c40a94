namespace Kvm.Vmm.Boot;

/// <summary>
/// A kernel or initrd that cannot be loaded: which file, which field at which offset, and why. The only exception the
/// loaders throw because of a file's content or the guest's memory size.
/// </summary>
public sealed class LoadException : VmmException
{
    private LoadException(ErrorInfo error, string message, string file, string field, ulong? offset, Exception? inner)
        : base(error, message, inner)
    {
        File = file;
        Field = field;
        Offset = offset;
    }

    /// <summary>The file's name as the user gave it.</summary>
    public string File { get; }

    /// <summary>The field or part that is wrong.</summary>
    public string Field { get; }

    /// <summary>Where the field is in the file, in bytes; null if the file as a whole is meant.</summary>
    public ulong? Offset { get; }

    internal static LoadException At(ErrorInfo error, ImageSource file, string field, ulong offset, string why) =>
        new(error, $"{file.Name}: {field} at offset 0x{file.Origin + offset:x}: {why}", file.Name, field, file.Origin + offset, null);

    internal static LoadException Whole(ErrorInfo error, ImageSource file, string part, string why, Exception? inner = null) =>
        new(error, $"{file.Name}: {part}: {why}", file.Name, part, null, inner);

    internal static LoadException Unreadable(string path, string why, Exception? inner) =>
        new(LoadErrors.Unreadable, $"{path}: {why}", path, "file", null, inner);

    internal static LoadException NotOfFile(ErrorInfo error, string what, string why) =>
        new(error, $"{what}: {why}", "", what, null, null);
}
